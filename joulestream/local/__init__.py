"""The stack of one machine: a real broker and a document server, started, watched and ended."""
