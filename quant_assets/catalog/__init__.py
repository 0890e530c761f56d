"""The symbols we follow: read from a configured list, with what is learned about their listings."""
