"""What the lake knows of jobs: asked, done, failed, spent, promised, right and unused."""
