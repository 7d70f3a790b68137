"""How a model is trained and chosen: the past, the challenge of the champion, the decision."""
