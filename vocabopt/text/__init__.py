"""Finding and reading text: from the paths a user wrote to blocks of documents in named sets."""
