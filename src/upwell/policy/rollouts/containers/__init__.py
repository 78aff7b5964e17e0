"""Parts of an instance's containers, as the runtime takes them: checks and files; pure."""
