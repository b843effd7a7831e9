"""The names of the nets, for settings that must not wait for torch."""

KINDS = ("student", "rep_student", "higher_hrnet", "pose_hrnet", "simple_baseline", "readout")
