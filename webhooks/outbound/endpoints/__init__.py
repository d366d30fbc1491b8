"""A tenant's endpoints: what they want, how it is signed, and who may change that."""
