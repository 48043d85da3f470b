"""What starts by itself: sensors and schedules, one module per cause. No logic lives here."""
