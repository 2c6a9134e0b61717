"""Language models as judges: which of two texts, how helpful an answer; and whether a judge may be trusted."""
