"""Experiments behind the defaults: scripts that answer a question at small scale, with seeds. See README.md here."""
