"""The commands of the command line, one module each; `lightning_codec.cli` lists them."""
