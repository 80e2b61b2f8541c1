"""What a worker has at hand for its tasks: lake, models, images, room, clock and log."""
