//! Who may do what. A key has one role; deny is the default.

use serde::{Deserialize, Serialize};

/// The role of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Control room: reports incidents, runs alerts, reads replies.
    Operator,
    /// Second pair of eyes: sees what an operator sees and approves.
    Approver,
    /// Enrols participants, keeps groups, areas and keys.
    Admin,
    /// Reads the audit log, changes nothing.
    Auditor,
    /// Runs the installation that all organisations share, and belongs to none of them: takes gateways out of use, and tests them.
    Platform,
}

/// The action that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See incidents, alerts, deliveries and replies.
    ReadAlerts,
    /// Report incidents; start, change and end alerts; handle replies.
    RunAlerts,
    /// Approve or reject an alert that waits for it.
    ApproveAlerts,
    /// See which areas and groups there are: a request for an alert names them.
    ReadLibrary,
    /// See and change participants, groups and areas.
    ManageRegistry,
    /// See, record and lift opt-outs of phone numbers.
    ManageOptOuts,
    /// See, make and revoke keys.
    ManageKeys,
    /// See how the gateways do.
    ReadGateways,
    /// Take gateways out of use and put them back, and test them.
    ManageGateways,
    /// Read the audit log.
    ReadAudit,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Operator, Self::Approver, Self::Admin, Self::Auditor, Self::Platform];

    /// The name as it stands in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Platform => "platform",
        }
    }

    /// The role matrix.
    #[must_use]
    pub const fn permissions(self) -> &'static [Permission] {
        use Permission::{
            ApproveAlerts, ManageGateways, ManageKeys, ManageOptOuts, ManageRegistry, ReadAlerts, ReadAudit,
            ReadGateways, ReadLibrary, RunAlerts,
        };
        match self {
            Self::Operator => &[ReadAlerts, RunAlerts, ReadLibrary, ManageOptOuts, ReadGateways],
            Self::Approver => &[ReadAlerts, ApproveAlerts, ReadLibrary],
            Self::Admin => &[ReadLibrary, ManageRegistry, ManageOptOuts, ManageKeys, ReadGateways],
            Self::Auditor => &[ReadAudit],
            Self::Platform => &[ReadGateways, ManageGateways],
        }
    }

    /// Whether its holder acts on the installation. The holders of the other roles act in one organisation.
    #[must_use]
    pub const fn is_of_installation(self) -> bool {
        matches!(self, Self::Platform)
    }

    /// The roles of an organisation, which its admin may give.
    pub fn of_organisation() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|role| !role.is_of_installation())
    }

    /// Whether a key with this role may do `permission`.
    #[must_use]
    pub fn may(self, permission: Permission) -> bool {
        self.permissions().contains(&permission)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a role: use operator, approver, admin, auditor or platform")]
pub struct UnknownRole;

impl std::str::FromStr for Role {
    type Err = UnknownRole;
    fn from_str(s: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|r| r.as_str() == s).ok_or(UnknownRole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duties_are_separated() {
        assert!(!Role::Admin.may(Permission::RunAlerts));
        assert!(!Role::Operator.may(Permission::ManageRegistry));
        assert!(!Role::Operator.may(Permission::ApproveAlerts));
        assert!(!Role::Auditor.may(Permission::ReadAlerts));
        assert!(!Role::Auditor.may(Permission::ReadLibrary));
        assert!(!Role::Admin.may(Permission::ManageGateways), "gateways are everybody's");
        assert!(
            !Role::Platform.may(Permission::ReadAlerts) && !Role::Platform.may(Permission::ManageRegistry)
        );
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
    }
}
