"""The conventions of recurrent layers in other frameworks, and what exporters lose."""
