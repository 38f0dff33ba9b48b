//! The permissions of roles, for people.

use klaroen_domain::role::{Permission, Role};

/// The roles that hold a permission, for people: `operator or approver`.
#[must_use]
pub fn roles_with(permission: Permission) -> String {
    let roles: Vec<&str> =
        Role::ALL.into_iter().filter(|role| role.may(permission)).map(Role::as_str).collect();
    roles.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_listed_as_alternatives() {
        assert_eq!(roles_with(Permission::ReadAlerts), "operator or approver");
    }
}
