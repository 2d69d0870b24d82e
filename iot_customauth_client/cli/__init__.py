"""The `iot-customauth` command: `main.py` is the way in, one file for each subcommand, `serving.py` its work."""
