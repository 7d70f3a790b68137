"""What a training run will have used when it is finished: from its epochs, its steps, or runs like it."""
