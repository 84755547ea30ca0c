"""What earlier jobs were answered: replies used again, and answers to look back at."""
