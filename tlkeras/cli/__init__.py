"""The command line: parse, make a config, call one workflow function."""
