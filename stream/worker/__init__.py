"""What a worker does around the fold: hold partitions, recover them, write checkpoints, send effects, publish totals and routes.

Nothing here knows Faust; agents and tables wire it to the app.
"""
