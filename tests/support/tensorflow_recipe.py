"""A sample in TensorFlow, which has no array-API namespace: it goes through DLPack."""

import numpy as np
import tensorflow as tf


def to_numpy(tensor):
    return np.from_dlpack(tensor)  # on a GPU: cupy.from_dlpack


def to_tensorflow(array):
    # A copy, because TensorFlow aborts on memory of a CPU that is not aligned to 64 bytes. CuPy's
    # is: on a GPU, tf.experimental.dlpack.from_dlpack(cupy.ascontiguousarray(array).__dlpack__()).
    return tf.convert_to_tensor(array)


def sample(estimator, logits, rng):
    """Return the value of a draw as a tensor that carries its gradient."""

    @tf.custom_gradient
    def value(logits):
        draw = estimator.sample(to_numpy(logits), rng=rng)

        def gradient(cotangent):
            return to_tensorflow(draw.vjp(to_numpy(cotangent)))

        return to_tensorflow(draw.value), gradient

    if tf.executing_eagerly():
        return value(logits)
    result = tf.py_function(value, [logits], logits.dtype)  # in a graph, under tf.function
    return tf.ensure_shape(result, logits.shape)
