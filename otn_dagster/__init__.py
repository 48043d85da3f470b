"""otn_dagster: one ocean-data node that anybody can run with one command."""

import os
import warnings

# Said by Dagster in every process, of parts that this project knows are young.
warnings.filterwarnings("ignore", message=".*is currently in (beta|preview).*")
warnings.filterwarnings("ignore", message=".*is superseded.*")

# openpyxl reads sheets of strangers with defusedxml, unless lxml happens to be installed: then it would expand entities.
os.environ["OPENPYXL_LXML"] = "False"
