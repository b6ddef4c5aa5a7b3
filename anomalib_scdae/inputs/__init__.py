# SPDX-License-Identifier: Apache-2.0
"""What training needs beside the user's images: a teacher and natural images, bundled, from disk or downloaded."""
