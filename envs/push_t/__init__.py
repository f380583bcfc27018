"""PushT: push a T-shaped block into place with a round pusher."""
