"""Who may ask this API: staff with the permission that the admin's page of the same rows asks for."""

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView


class MayView(BasePermission):
    """Staff who hold the Django permission that the view names in `permission`."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        user = request.user
        self.message = f"Staff with the permission {view.permission} may do this."
        return bool(user.is_active and user.is_staff and user.has_perm(view.permission))
