"""Jenkins: triggers a build once and follows it to its end. `pipeline` is the way in."""

from bot.integrations.jenkins.pipeline import JenkinsPipeline

__all__ = ["JenkinsPipeline"]
