"""A tenant's accounts at providers: create, edit, test, choose; forms and API generated from ConfigSchema."""
