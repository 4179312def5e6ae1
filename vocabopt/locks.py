"""The old name of vocabopt.folder, until every importer uses the new one."""

from vocabopt.folder import entries, file_lock, folder_lock, is_own, make_folder, remove_unfinished

__all__ = ["entries", "file_lock", "folder_lock", "is_own", "make_folder", "remove_unfinished"]
