"""One module a figure; each makes charts of results, or none where the results do not have what it takes."""
