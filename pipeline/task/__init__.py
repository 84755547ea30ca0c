"""What a job asks of its tiers: the prompt, the parsing of replies, masking, documents that are too long."""
