"""One text of each kind that opens a door, none of them real: what is logged and recorded must hold none of them."""

SECRETS = (
    "xoxb-1234567890-abcdefghij",
    "xoxe.xoxp-1-Mi0yLTEyMzQ",
    "xapp-1-A0LOCKTENDER-123-abcdef",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "ghs_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11AAAAAAA_abcdefghijklmnop",
    "glpat-abcdefghij_klmnopq",
    "lt_abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE",
    "eyJhbGciOiJSUzI1NiIs.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl",
    "https://hooks.slack.com/commands/T1/2/three",
    "https://hooks.slack.com/actions/T1/2/three",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
)
