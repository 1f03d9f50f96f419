"""The plumbing under the infra-repo adapter: every git process, object, lock and answer text is dealt with in here."""
