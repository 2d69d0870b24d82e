"""Links: one small protocol over awscrt's two MQTT clients. See `base.py`."""
