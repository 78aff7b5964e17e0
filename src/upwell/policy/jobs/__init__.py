"""Jobs and CronJobs: the next runs, and when they are due."""
