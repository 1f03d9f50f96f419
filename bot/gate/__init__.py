"""The production gate: changes are proposed as pull requests, watched, and merged when they have what they need."""
