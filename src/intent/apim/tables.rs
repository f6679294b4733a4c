//! What API Management depends on, as Microsoft documents it.
//!
//! Sources: "Virtual network configuration reference: API Management" (2025-06-17, with the differences of the
//! 2026-04-30 revision), "Force tunnel traffic to on-premises firewall" (2023-11-29) and, for KMS, the Windows activation
//! troubleshooting articles. Documentation only: whoever runs another revision compares before trusting.

use crate::config::{Feature, Service, ServiceEndpoint};
use crate::snapshot::Cloud;

/// When a dependency is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Always.
    Required,
    /// When the feature is in use.
    Feature(Feature),
}

/// A dependency that a service tag stands for.
pub(super) struct TagDependency {
    pub(super) key: &'static str,
    pub(super) service: &'static str,
    /// Whether the region's own tag (`Storage.WestUS`) is enough.
    pub(super) regional: bool,
    pub(super) services: &'static [Service],
    pub(super) need: Need,
    /// Endpoints that take the traffic out of the tunnel: for the subnet's own region only, or for all.
    pub(super) own_region_endpoint: Option<ServiceEndpoint>,
    pub(super) any_region_endpoint: Option<ServiceEndpoint>,
    pub(super) purpose: &'static str,
}

const HTTPS: &[Service] = &[Service::tcp(443)];
const HTTP_HTTPS: &[Service] = &[Service::tcp(80), Service::tcp(443)];

/// Outbound dependencies with a service tag.
pub(super) const TAG_DEPENDENCIES: &[TagDependency] = &[
    TagDependency {
        key: "storage",
        service: "Storage",
        regional: true,
        services: HTTPS,
        need: Need::Required,
        own_region_endpoint: Some(ServiceEndpoint::Storage),
        any_region_endpoint: Some(ServiceEndpoint::StorageGlobal),
        purpose: "Azure Storage",
    },
    TagDependency {
        key: "storage-files",
        service: "Storage",
        regional: true,
        services: &[Service::tcp(445)],
        need: Need::Feature(Feature::Git),
        own_region_endpoint: Some(ServiceEndpoint::Storage),
        any_region_endpoint: Some(ServiceEndpoint::StorageGlobal),
        purpose: "file share for Git (older revisions)",
    },
    TagDependency {
        key: "sql",
        service: "Sql",
        regional: true,
        services: &[Service::tcp(1433)],
        need: Need::Required,
        own_region_endpoint: Some(ServiceEndpoint::Sql),
        any_region_endpoint: None,
        purpose: "Azure SQL",
    },
    TagDependency {
        key: "key-vault",
        service: "AzureKeyVault",
        regional: false,
        services: HTTPS,
        need: Need::Required,
        own_region_endpoint: None,
        any_region_endpoint: Some(ServiceEndpoint::KeyVault),
        purpose: "Azure Key Vault",
    },
    TagDependency {
        key: "monitor",
        service: "AzureMonitor",
        regional: false,
        services: &[Service::tcp(443), Service::tcp(1886)],
        need: Need::Required,
        own_region_endpoint: None,
        any_region_endpoint: None,
        purpose: "diagnostics, metrics, health, Application Insights",
    },
    TagDependency {
        key: "event-hubs",
        service: "EventHub",
        regional: true,
        services: &[Service::tcp(443), Service::tcp(5671), Service::tcp(5672)],
        need: Need::Feature(Feature::EventHubs),
        own_region_endpoint: None,
        any_region_endpoint: Some(ServiceEndpoint::EventHub),
        purpose: "logging to Event Hubs, Azure Monitor",
    },
    TagDependency {
        key: "entra",
        service: "AzureActiveDirectory",
        regional: false,
        services: HTTPS,
        need: Need::Feature(Feature::Entra),
        own_region_endpoint: None,
        any_region_endpoint: None,
        purpose: "Entra ID, Microsoft Graph, Key Vault sign-in",
    },
    TagDependency {
        key: "connectors",
        service: "AzureConnectors",
        regional: false,
        services: HTTPS,
        need: Need::Feature(Feature::Connectors),
        own_region_endpoint: None,
        any_region_endpoint: None,
        purpose: "managed connections",
    },
];

/// A dependency that only hostnames stand for.
pub(super) struct HostDependency {
    pub(super) key: &'static str,
    pub(super) need: Need,
    pub(super) services: &'static [Service],
    pub(super) hosts: fn(Cloud) -> &'static [&'static str],
    /// The tag that holds their addresses too.
    pub(super) expected_tag: Option<&'static str>,
    pub(super) purpose: &'static str,
}

/// Outbound dependencies without a service tag of their own.
pub(super) const HOST_DEPENDENCIES: &[HostDependency] = &[
    HostDependency {
        key: "certificates",
        need: Need::Required,
        services: HTTP_HTTPS,
        hosts: |_| {
            &[
                "mscrl.microsoft.com",
                "crl.microsoft.com",
                "oneocsp.microsoft.com",
                "cacerts.digicert.com",
                "crl3.digicert.com",
                "csp.digicert.com",
            ]
        },
        expected_tag: None,
        purpose: "certificate validation",
    },
    HostDependency {
        key: "metrics",
        need: Need::Required,
        services: HTTPS,
        hosts: metrics_hosts,
        expected_tag: Some("AzureMonitor"),
        purpose: "metrics and health monitoring (the tag AzureMonitor covers these too)",
    },
    HostDependency {
        key: "entra-hosts",
        need: Need::Feature(Feature::Entra),
        services: HTTPS,
        hosts: |cloud| match cloud {
            Cloud::Government => &["login.microsoftonline.us"],
            Cloud::China => &["login.chinacloudapi.cn"],
            _ => &["login.microsoftonline.com"],
        },
        expected_tag: Some("AzureActiveDirectory"),
        purpose: "Entra ID sign-in",
    },
    HostDependency {
        key: "diagnostics",
        need: Need::Feature(Feature::Diagnostics),
        services: HTTPS,
        hosts: |_| {
            &[
                "dc.services.visualstudio.com",
                "azurewatsonanalysis-prod.core.windows.net",
                "*.data.microsoft.com",
                "azureprofiler.trafficmanager.net",
                "shavamanifestazurecdnprod1.azureedge.net",
                "shavamanifestcdnprod1.azureedge.net",
                "issuer.pki.azure.com",
            ]
        },
        expected_tag: None,
        purpose: "Azure portal diagnostics, internal diagnostics",
    },
    HostDependency {
        key: "links",
        need: Need::Feature(Feature::Diagnostics),
        services: HTTP_HTTPS,
        hosts: |_| &["go.microsoft.com"],
        expected_tag: None,
        purpose: "internal diagnostics (redirections)",
    },
    HostDependency {
        key: "captcha",
        need: Need::Feature(Feature::Captcha),
        services: HTTPS,
        hosts: |_| &["client.hip.live.com", "partner.hip.live.com"],
        expected_tag: None,
        purpose: "CAPTCHA of the developer portal",
    },
    HostDependency {
        key: "smtp",
        need: Need::Feature(Feature::Smtp),
        services: &[Service::tcp(25), Service::tcp(587), Service::tcp(25028)],
        hosts: |_| {
            &[
                "smtpi-co1.msn.com",
                "smtpi-ch1.msn.com",
                "smtpi-db3.msn.com",
                "smtpi-sin.msn.com",
                "ies.global.microsoft.com",
            ]
        },
        expected_tag: None,
        purpose: "SMTP relay (older revisions)",
    },
    HostDependency {
        key: "windows-update",
        need: Need::Feature(Feature::WindowsUpdate),
        services: HTTP_HTTPS,
        hosts: |_| {
            &[
                "*.update.microsoft.com",
                "*.ctldl.windowsupdate.com",
                "ctldl.windowsupdate.com",
                "download.windowsupdate.com",
            ]
        },
        expected_tag: None,
        purpose: "Windows Update",
    },
    HostDependency {
        key: "defender",
        need: Need::Feature(Feature::Defender),
        services: HTTPS,
        hosts: |_| &["wdcp.microsoft.com", "wdcpalt.microsoft.com"],
        expected_tag: None,
        purpose: "Microsoft Defender",
    },
];

fn metrics_hosts(cloud: Cloud) -> &'static [&'static str] {
    match cloud {
        Cloud::Government => &[
            "fairfax.warmpath.usgovcloudapi.net",
            "global.prod.microsoftmetrics.com",
            "shoebox2.prod.microsoftmetrics.com",
            "shoebox2-red.prod.microsoftmetrics.com",
            "shoebox2-black.prod.microsoftmetrics.com",
            "prod3.prod.microsoftmetrics.com",
            "prod3-black.prod.microsoftmetrics.com",
            "prod3-red.prod.microsoftmetrics.com",
            "prod5.prod.microsoftmetrics.com",
            "prod5-black.prod.microsoftmetrics.com",
            "prod5-red.prod.microsoftmetrics.com",
            "gcs.prod.warm.ingestion.monitoring.azure.us",
        ],
        Cloud::China => &[
            "mooncake.warmpath.chinacloudapi.cn",
            "global.prod.microsoftmetrics.com",
            "shoebox2.prod.microsoftmetrics.com",
            "shoebox2-red.prod.microsoftmetrics.com",
            "shoebox2-black.prod.microsoftmetrics.com",
            "prod3.prod.microsoftmetrics.com",
            "prod3-red.prod.microsoftmetrics.com",
            "prod5.prod.microsoftmetrics.com",
            "prod5-black.prod.microsoftmetrics.com",
            "prod5-red.prod.microsoftmetrics.com",
            "gcs.prod.warm.ingestion.monitoring.azure.cn",
        ],
        Cloud::Public | Cloud::Germany | Cloud::Example => &[
            "gcs.prod.monitoring.core.windows.net",
            "global.prod.microsoftmetrics.com",
            "shoebox2.prod.microsoftmetrics.com",
            "shoebox2-red.prod.microsoftmetrics.com",
            "shoebox2-black.prod.microsoftmetrics.com",
            "prod3.prod.microsoftmetrics.com",
            "prod3-black.prod.microsoftmetrics.com",
            "prod3-red.prod.microsoftmetrics.com",
            "gcs.prod.warm.ingestion.monitoring.azure.com",
        ],
    }
}

/// The KMS servers of a cloud: each hostname with the addresses that Microsoft documents for it.
pub(super) fn kms(cloud: Cloud) -> &'static [(&'static str, &'static [&'static str])] {
    match cloud {
        Cloud::Public => &[
            ("azkms.core.windows.net", &["20.118.99.224/32", "40.83.235.53/32"]),
            ("kms.core.windows.net", &["23.102.135.246/32"]),
        ],
        Cloud::Government => &[
            ("azkms.core.usgovcloudapi.net", &["52.126.105.2/32"]),
            ("kms.core.usgovcloudapi.net", &["23.97.0.13/32"]),
        ],
        Cloud::China => &[
            ("azkms.core.chinacloudapi.cn", &["159.27.28.100/32", "163.228.64.161/32"]),
            ("kms.core.chinacloudapi.cn", &["42.159.7.249/32"]),
        ],
        // Closed; Microsoft documents none.
        Cloud::Germany => &[],
        Cloud::Example => &[("kms.example.net", &["203.0.113.224/32", "203.0.113.225/32"])],
    }
}
