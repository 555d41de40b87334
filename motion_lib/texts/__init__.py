"""Description sets: read, made by a language model, chosen, masked, compared with the source's."""
