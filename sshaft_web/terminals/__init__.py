"""The terminals of people: each is opened on a host, keeps its output, and outlives the page that shows it."""
