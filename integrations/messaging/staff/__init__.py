"""The pages of an office: write to people, see what became of it. Made of forms and links; scripts only make them quicker."""
