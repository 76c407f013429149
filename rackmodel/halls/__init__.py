"""Several jobs in one hall: training and serving on racks of one machine, who slows whom.

In:  jobs with the racks that they stand on.
Out: the steps of each job, alone and with the others; power of racks and hall over time.
Left out: how jobs come to their racks.
"""
