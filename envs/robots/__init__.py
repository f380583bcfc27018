"""Bodies that scenes are composed of: hands, and arms with hands."""
