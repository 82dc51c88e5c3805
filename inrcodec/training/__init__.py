"""What trainings of all codecs share: trainer, loop, schedules, checkpoints, data, cards."""
