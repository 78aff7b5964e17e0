"""Jobs, CronJobs and Pods: the next runs, when they are due, and what waits for an image."""
