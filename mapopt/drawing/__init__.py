"""Everything that draws: figures, boxes on pictures, episodes and videos.

matplotlib is imported here alone, and only when a figure is drawn.
"""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.drawing.audit_figures import draw_counts as draw_counts
    from mapopt.drawing.audit_sheets import draw_findings as draw_findings
    from mapopt.drawing.benchmark_figures import save_benchmark as save_benchmark
    from mapopt.drawing.boxes import draw_boxes as draw_boxes
    from mapopt.drawing.comparison_figures import save_comparison as save_comparison
    from mapopt.drawing.episode import draw_scene as draw_scene
    from mapopt.drawing.evaluation_figures import draw_evaluation as draw_evaluation
    from mapopt.drawing.rows import Curve as Curve
    from mapopt.drawing.rows import FinalScore as FinalScore
    from mapopt.drawing.rows import OverallScore as OverallScore
    from mapopt.drawing.rows import Picture as Picture
    from mapopt.drawing.rows import PictureRow as PictureRow
    from mapopt.drawing.rows import Trajectory as Trajectory
    from mapopt.drawing.run_figures import draw_run as draw_run
    from mapopt.drawing.run_figures import draw_run_folder as draw_run_folder
    from mapopt.drawing.scenes import RenderedImage as RenderedImage
    from mapopt.drawing.scenes import RenderedKnob as RenderedKnob
    from mapopt.drawing.scenes import RenderScene as RenderScene
    from mapopt.drawing.scenes import describe_scene as describe_scene
    from mapopt.drawing.styles import Family as Family
    from mapopt.drawing.styles import Style as Style
    from mapopt.drawing.styles import styles_of as styles_of
    from mapopt.drawing.video import check_video as check_video
    from mapopt.drawing.video import write_video as write_video
    from mapopt.drawing.worst_images import draw_worst as draw_worst
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "draw_counts": "mapopt.drawing.audit_figures",
            "draw_findings": "mapopt.drawing.audit_sheets",
            "save_benchmark": "mapopt.drawing.benchmark_figures",
            "draw_boxes": "mapopt.drawing.boxes",
            "save_comparison": "mapopt.drawing.comparison_figures",
            "RenderedImage": "mapopt.drawing.scenes",
            "RenderedKnob": "mapopt.drawing.scenes",
            "RenderScene": "mapopt.drawing.scenes",
            "describe_scene": "mapopt.drawing.scenes",
            "draw_scene": "mapopt.drawing.episode",
            "draw_evaluation": "mapopt.drawing.evaluation_figures",
            "draw_run": "mapopt.drawing.run_figures",
            "draw_run_folder": "mapopt.drawing.run_figures",
            "Curve": "mapopt.drawing.rows",
            "FinalScore": "mapopt.drawing.rows",
            "OverallScore": "mapopt.drawing.rows",
            "Picture": "mapopt.drawing.rows",
            "PictureRow": "mapopt.drawing.rows",
            "Trajectory": "mapopt.drawing.rows",
            "Family": "mapopt.drawing.styles",
            "Style": "mapopt.drawing.styles",
            "styles_of": "mapopt.drawing.styles",
            "check_video": "mapopt.drawing.video",
            "write_video": "mapopt.drawing.video",
            "draw_worst": "mapopt.drawing.worst_images",
        },
    )
