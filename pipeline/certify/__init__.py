"""What may be promised of a job's answers: which rows are drawn, which plans they test, and what holds of all rows."""
