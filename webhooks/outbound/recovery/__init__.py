"""After a failure: sending again, by hand or in bulk, and what is dead."""
