"""What monitoring costs on this machine: measured beside the bare SDK and beside other ways of doing the same.

Functions that measure and give `figures`; nothing here prints. R is the time of the SDK's own
``start_as_current_span`` on a provider without any processor. Machines are noisy, so what is compared is measured in
turn, each ratio with its own neighbour in time, and a figure is a median with its quartiles.
"""
