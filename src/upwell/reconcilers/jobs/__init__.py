"""Pods, Jobs and CronJobs: runs them in instances that end."""
