"""Whether features carry over: fitted on one data set and scored on another, untrained references beside."""
