"""GitHub: pull requests, reviews, statuses, merges and webhooks. `host` is the way in, for who needs its client."""
