"""How strong the tests are: `make mutants`."""
