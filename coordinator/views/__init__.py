"""What operators see, as JSON values: pure functions of the machine's state and stored records.

One noun a file. Times are ISO 8601 in UTC with microseconds, lengths are seconds (or milliseconds
where the name says so), and what is not known is null, never left out.
"""
