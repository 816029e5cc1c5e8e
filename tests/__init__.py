"""Tests. This file makes them a package, since apache-iotdb, which some of them use, installs one of the same name."""
