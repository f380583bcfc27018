"""Plan for dexterous hands inside simulators and inside learned world models.

The sub-packages are the parts: ``envs`` (simulators), ``world_models`` (dynamics),
``planners`` (search), ``agents`` (what acts), ``experiments`` (command line) and ``assets``.
Importing ``dexworld`` itself loads none of them.
"""

__version__ = "0.1.0"
