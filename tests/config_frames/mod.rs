//! Sound configurations, into which tests of errors put what is wrong.

/// A group and a rule.
pub(crate) const RULE: &str = "cloud = \"public\"
[groups.devops]
tags = [\"AzureDevOps\"]
[rules.devops]
source = [\"10.20.0.0/24\"]
destination = \"devops\"
services = [\"tcp/443\"]
";

/// A profile.
pub(crate) const PROFILE: &str = "cloud = \"public\"
[apim.prod]
regions = [\"westeurope\"]
network = \"external\"
subnets = [\"10.20.0.0/24\"]
egress = [\"wan0\"]
";
